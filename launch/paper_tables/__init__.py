"""The paper's four tables: what is printed, what is measured, how it is set."""
