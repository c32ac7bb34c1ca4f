"""Node pools: accelerators, machine types, prices, limits of each cloud, and whether models fit."""
