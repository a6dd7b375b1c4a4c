"""Scripts to copy: a run submitted and led from Python, and a site that takes part in it."""
