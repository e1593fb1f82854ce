"""The REST edge that all apps share: strict fields, answers said once, pages, schema. Knows no model and no app."""
