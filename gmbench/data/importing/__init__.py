"""From folders of images to a dataset: names, decoding, roles, files, card."""
