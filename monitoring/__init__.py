"""Dashboards, alerts and recording rules as data."""
