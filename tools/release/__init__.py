"""What a release is checked for, says and publishes."""
