"""From records to tables. report/reference holds the report's own numbers."""
