"""What every room may use: ids, principals, the wall around child processes."""
