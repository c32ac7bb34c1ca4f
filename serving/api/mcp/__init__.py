"""The Model Context Protocol: tools and resources that are routes of the API, called as the caller."""
