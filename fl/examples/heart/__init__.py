"""Four hospitals that examined patients for heart disease: federated data as they really are.

`python -m fl.examples.heart FOLDER` writes them as files, with a run that they can take part in.
"""
