"""Tables, figures and the page. Renders frames; computes no scientific number."""
