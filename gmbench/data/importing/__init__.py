"""From folders of images to a dataset: names, decoding, roles, files, card. Judging what came out is in `audit`."""
