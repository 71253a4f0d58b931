"""Is a dataset a fair benchmark? One module per group of questions; what *makes* a dataset fair is in `building`."""
