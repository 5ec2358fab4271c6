// Sends HL7 v2 messages by MLLP with one of three independent clients and prints what each was told.
// Usage: node send_hl7.cjs CLIENT PORT COUNT FILE   (NODE_PATH names the folder that holds the clients)
// CLIENT: node-hl7-client | medplum | medplum-pipelined | simple-hl7. FILE: one message with CONTROL_ID where MSH-10 goes.
// Prints one line per acknowledgement: MSA-1 and MSA-2.
'use strict';
const fs = require('fs');

const [client, port, count, file] = process.argv.slice(2);
const text = fs.readFileSync(file, 'utf8');
const messages = Array.from({ length: Number(count) }, (_, n) => text.replaceAll('CONTROL_ID', `${client}-${n}`));
const host = '127.0.0.1';
const told = (code, control) => process.stdout.write(`${code} ${control}\n`);

async function nodeHl7Client() {
  const { Client, Message } = require('node-hl7-client');
  let answered;
  const outbound = new Client({ host }).createConnection({ port: Number(port) }, (response) => {
    const reply = response.getMessage();
    told(reply.get('MSA.1').toString(), reply.get('MSA.2').toString());
    answered();
  });
  for (const message of messages) {
    const answer = new Promise((resolve) => { answered = resolve; });
    await outbound.sendMessage(new Message({ text: message }));
    await answer;
  }
  await outbound.close();
}

async function medplum(pipelined) {
  const { Hl7Client } = require('@medplum/hl7');
  const { Hl7Message } = require('@medplum/core');
  const sender = new Hl7Client({ host, port: Number(port), keepAlive: true });
  const send = async (message) => {
    const msa = (await sender.sendAndWait(Hl7Message.parse(message))).getSegment('MSA');
    told(msa.getField(1).toString(), msa.getField(2).toString());
  };
  if (pipelined) {
    await sender.connect();
    await Promise.all(messages.map(send));
  } else {
    for (const message of messages) await send(message);
  }
  await sender.close();
}

async function simpleHl7() {
  const hl7 = require('simple-hl7');
  const parser = new hl7.Parser({ segmentSeperator: '\r' });
  const sender = hl7.Server.createTcpClient({ host, port: Number(port), keepalive: true });
  for (const message of messages) {
    const reply = await new Promise((resolve, reject) => {
      sender.send(parser.parse(message), (error, ack) => (error ? reject(error) : setImmediate(resolve, ack)));
    });
    const msa = reply.getSegment('MSA');
    told(msa.getField(1), msa.getField(2));
  }
  sender.close();
}

const clients = {
  'node-hl7-client': nodeHl7Client,
  medplum: () => medplum(false),
  'medplum-pipelined': () => medplum(true),
  'simple-hl7': simpleHl7,
};
clients[client]().then(() => process.exit(0), (error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
