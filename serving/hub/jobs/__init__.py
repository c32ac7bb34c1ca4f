"""Jobs of the hub: data sets that are frozen, and versions that are made of them, in a process beside the gateways."""
