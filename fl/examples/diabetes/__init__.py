"""How far diabetes progresses in a year, learned by six clinics of very unlike sizes: regression.

`python -m fl.examples.diabetes` compares one model of all clinics with training in one place and with clinics alone.
"""
