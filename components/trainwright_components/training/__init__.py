"""One training loop for every strategy, and the folder that a trained model lives in.

`run` trains a module on a dataset: a `session` brings model, rows and strategy together around the `loop`, whose steps
a driver runs. `configuration` are the settings, `strategies` the choice among them, `drivers` what runs the steps,
`data` the rows in their order, `recovery` what lets a training run continue, `members` what a cluster's processes run.
`keras_internals` is all that is used of Keras beyond its public interface; `trained_model` what is left at the end.
"""
