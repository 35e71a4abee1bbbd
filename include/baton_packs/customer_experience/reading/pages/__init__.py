"""Pages with places of characters: PDF, pictures by OCR, layout. Imports reading.text."""
