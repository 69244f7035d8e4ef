"""ffn-lsp-server: an editor's session over JSON-RPC, every answer within a time limit."""
import json
import os
import pathlib
import queue
import subprocess
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SERVER = BUILD / "bin" / "ffn-lsp-server"
LIMIT = 60  # seconds for one answer, on a busy machine

GOOD = """\
func.func @main(%x: tensor<?x4xf32>, %s: tensor<4xf32>) -> tensor<?x4xf32> {
  %y = ffn.norm rms %x scale %s : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
"""


class Editor:
    """A client; messages of the server are read by a thread, so that waiting has a limit."""

    def __init__(self):
        self.process = subprocess.Popen(
            [SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.messages = queue.Queue()
        self.count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        stream = self.process.stdout
        while line := stream.readline():
            length = int(line.split(b":")[1])
            while stream.readline().strip():
                pass
            self.messages.put(json.loads(stream.read(length)))

    def _send(self, **message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def wait(self, fits):
        while True:
            message = self.messages.get(timeout=LIMIT)
            if fits(message):
                return message

    def notify(self, method, **params):
        self._send(method=method, params=params)

    def ask(self, method, **params):
        self.count += 1
        self._send(id=self.count, method=method, params=params)
        answer = self.wait(lambda message: message.get("id") == self.count)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, uri, text):
        """Opens a document; its diagnostics."""
        document = {"uri": uri, "languageId": "mlir", "version": 1, "text": text}
        self.notify("textDocument/didOpen", textDocument=document)
        found = self.wait(lambda message: message.get("method") == "textDocument/publishDiagnostics")
        assert found["params"]["uri"] == uri
        return found["params"]["diagnostics"]


@pytest.fixture
def editor():
    client = Editor()
    answer = client.ask("initialize", processId=None, rootUri=None, capabilities={})
    assert answer["capabilities"]["hoverProvider"]
    client.notify("initialized")
    yield client
    client.process.kill()
    client.process.wait(timeout=LIMIT)


def test_good_module_has_no_diagnostics_and_a_hover(editor):
    uri = "file:///model/good.mlir"
    assert editor.open(uri, GOOD) == []
    line = 1
    position = {"line": line, "character": GOOD.splitlines()[line].index("ffn.norm") + 2}
    hover = editor.ask("textDocument/hover", textDocument={"uri": uri}, position=position)
    assert "ffn.norm" in hover["contents"]["value"]
    assert "tensor<?x4xf32>" in hover["contents"]["value"]


def test_definition_of_an_operand(editor):
    uri = "file:///model/good.mlir"
    editor.open(uri, GOOD)
    position = {"line": 2, "character": GOOD.splitlines()[2].index("%y") + 1}
    found = editor.ask("textDocument/definition", textDocument={"uri": uri}, position=position)
    assert found[0]["range"]["start"]["line"] == 1


def test_violated_verifier_is_a_diagnostic_at_its_line(editor):
    found = editor.open("file:///model/bad.mlir", GOOD.replace("tensor<4xf32>", "tensor<5xf32>"))
    assert [entry["range"]["start"]["line"] for entry in found] == [1]
    assert found[0]["severity"] == 1 and "ffn.norm" in found[0]["message"]


def test_correction_clears_the_diagnostic(editor):
    uri = "file:///model/typo.mlir"
    assert editor.open(uri, GOOD.replace("ffn.norm", "ffn.nrom"))
    editor.notify(
        "textDocument/didChange", textDocument={"uri": uri, "version": 2}, contentChanges=[{"text": GOOD}]
    )
    found = editor.wait(lambda message: message.get("method") == "textDocument/publishDiagnostics")
    assert found["params"]["diagnostics"] == []


def test_onnx_and_upstream_dialects_are_known(editor):
    text = """\
func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> (tensor<2xf32> {onnx.name = "y"}) {
  %c = arith.constant dense<1.0> : tensor<2xf32>
  %e = tensor.empty() : tensor<2xf32>
  %s = linalg.add ins(%x, %c : tensor<2xf32>, tensor<2xf32>) outs(%e : tensor<2xf32>) -> tensor<2xf32>
  %y = onnx.node "Relu" v14 (%s) : (tensor<2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}
"""
    assert editor.open("file:///model/mixed.mlir", text) == []


def test_exit_codes(editor):
    editor.ask("shutdown")
    editor.notify("exit")
    assert editor.process.wait(timeout=LIMIT) == 0
    wrong = subprocess.run([SERVER, "--no-such-option"], capture_output=True, timeout=LIMIT)
    assert wrong.returncode != 0 and b"no-such-option" in wrong.stderr
