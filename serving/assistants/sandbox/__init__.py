"""The sandbox for programs that models write."""
