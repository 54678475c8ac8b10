"""YAML with line numbers, checked and explained. Generic: knows no campaign."""
