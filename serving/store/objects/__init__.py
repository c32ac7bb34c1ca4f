"""Contents of files, in a folder or a bucket."""
