// Sends DICOM files with dcmjs-dimse, a client that shares no code with DCMTK, pynetdicom or Osteon.
// Usage: node send.cjs HOST PORT CALLED CALLING FILE...   (NODE_PATH names the folder that holds dcmjs-dimse)
// Prints, among dcmjs's own log, one JSON line per answered file: {"uid", "status", "sha256"}; sha256 is of the dataset bytes that were sent.
// dcmjs writes a dataset anew, so these need not be the bytes of the file.
'use strict';
const crypto = require('crypto');
const { Client, Dataset, requests, constants } = require('dcmjs-dimse');

const [host, port, called, calling, ...files] = process.argv.slice(2);
const client = new Client();
for (const file of files) {
  const dataset = Dataset.fromFile(file);
  const uid = dataset.getElement('SOPInstanceUID');
  const sha256 = crypto.createHash('sha256').update(dataset.getDenaturalizedDataset()).digest('hex');
  const request = new requests.CStoreRequest(dataset);
  request.on('response', (response) => {
    if (response.getStatus() !== constants.Status.Pending) {
      process.stdout.write(JSON.stringify({ uid, status: response.getStatus(), sha256 }) + '\n');
    }
  });
  client.addRequest(request);
}
client.on('networkError', (error) => { process.stderr.write(`network: ${error.message}\n`); process.exitCode = 1; });
client.on('associationRejected', () => { process.exitCode = 1; });
setTimeout(() => process.exit(2), 20000).unref();
client.send(host, Number(port), calling, called, { connectTimeout: 5000, associationTimeout: 5000, pduTimeout: 5000 });
