"""Steps of a release: checks of its version, its notes, and the chart."""
