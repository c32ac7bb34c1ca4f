"""A user's conversations as a list, their titles, and copies of them; counts of a tenant's ratings."""
