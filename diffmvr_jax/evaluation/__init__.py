"""Methods compared on clips or videos, and the report of it."""
