"""The app's interface to the platform: `from headrace_apps import platform`.

The package runs in the app's own process. It imports no other code of Headrace, and of other packages only those that
the app has installed.
"""
