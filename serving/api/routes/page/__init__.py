"""The web page and its files. Neither depends on who asks: what a person sees comes from the API."""
