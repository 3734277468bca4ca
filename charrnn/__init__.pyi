from charrnn import callbacks as callbacks
from charrnn import errors as errors
from charrnn import events as events
from charrnn.api.history import History as History
from charrnn.api.networks import Network as Network
from charrnn.api.networks import load_torch as load_torch
from charrnn.api.networks import save_torch as save_torch
from charrnn.api.run import Run as Run
from charrnn.api.run import open_run as open_run
from charrnn.api.training import train as train
from charrnn.errors import CharrnnError as CharrnnError
from charrnn.errors import StopTraining as StopTraining
from charrnn.sampling.codec import Sample as Sample
from charrnn.sampling.decode import Decoding as Decoding
from charrnn.sampling.engine import Sampler as Sampler
from charrnn.sampling.engine import Writer as Writer
from charrnn.sampling.engine import load as load
from charrnn.sampling.prompts import samples_of as samples_of
from charrnn.scoring.score import Score as Score

__version__: str
