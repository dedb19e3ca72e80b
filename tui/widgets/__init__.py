"""Widgets of the app. Each draws what it is given and posts messages; none decides what is computed."""
