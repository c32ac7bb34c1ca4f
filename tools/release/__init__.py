"""Steps of a release: checks of its version, its notes, the wheel, and the chart."""
