"""What a request may use, and what it used."""
