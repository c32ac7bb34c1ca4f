"""What an app uses of the platform: `from headrace_apps import platform`.

It runs in the app's own process and imports nothing of Headrace's, and of other packages only what the app has itself.
"""
