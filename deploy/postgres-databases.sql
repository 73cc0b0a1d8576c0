-- One database each; the first one, labelloop, is made by the image itself. Runs once, on an empty volume.
CREATE DATABASE labelstudio;
CREATE DATABASE mlflow;
