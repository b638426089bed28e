"""What notebooks import to show results: tables, claims, pictures, files."""
