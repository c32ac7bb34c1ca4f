"""The web page: its built files and the document that loads them. The sources are in `ui/`."""
