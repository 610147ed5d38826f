"""What is made of the numbers of a study, one file for each question."""
