"""Project templates, one folder each: config.xml, template.yaml, guideline.md, sample.json; `templates.catalogue` reads them."""
