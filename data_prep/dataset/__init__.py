"""Folders of records, and labelled pictures."""
