"""The model in MLServer's runtime interface."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from shared import OUTPUT, session


class Model(MLModel):
    async def load(self) -> bool:
        self.session = session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feed = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        rows = self.session.run([OUTPUT], feed)[0]
        output = NumpyCodec.encode_output(OUTPUT, rows)
        return InferenceResponse(model_name=self.name, outputs=[output])
