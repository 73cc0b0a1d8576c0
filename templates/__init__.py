"""Project templates, one folder each: config.xml, template.yaml, guideline.md; `templates.catalogue` reads them."""
