"""Manta's library: everything the jobs and the endpoint are made of.

Five floors, and imports only run down (a test holds them to it):

    5  jobs, serving          entry points
    4  tune, train            studies, the run
       predict, report        the predictor, the page
    3  data, bundle           the two formats on disk; Ray joined or started, and its metrics
    2  config, images, models pure building blocks
    1  errors, console, metrics
"""

__version__ = "0.1.0"
