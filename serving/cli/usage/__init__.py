"""`headrace usage`: the table, the forecast of the month, and the invoice."""
