"""A simulated psoriasis trial: cohort, readers, planted errors and artefacts, photos with lesion masks.

Planning (`cohort.plan_trial`) is pure and yields frames; rendering (`render.render_shard`) turns planned
rows into files and needs nothing but a row. Ground truth is written beside the trial's tables.
"""
