// Receives HL7 v2 messages by MLLP with one of three independent servers and prints what each understood.
// Usage: node receive_hl7.cjs SERVER PORT   (NODE_PATH names the folder that holds the servers)
// SERVER: node-hl7-server | medplum | medplum-enhanced | simple-hl7.
// Prints "ready", then one JSON line per message: {"control", "name", "status", "summary"} of MSH-10, PID-5.1, OBR-25 and the OBX-5 of OS-SUMMARY.
'use strict';
const [server, port] = process.argv.slice(2);
const told = (row) => process.stdout.write(JSON.stringify(row) + '\n');
const ready = () => process.stdout.write('ready\n');

async function nodeHl7Server() {
  const { Server } = require('node-hl7-server');
  const listener = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port: Number(port) }, async (req, res) => {
    const message = req.getMessage();
    const get = (path) => message.get(path).toString();
    const summary = message.toString().split('\r').find((line) => line.startsWith('OBX|2|')) || '';
    told({ control: get('MSH.10'), name: get('PID.5.1'), status: get('OBR.25'), summary: summary.split('|')[5] || '' });
    await res.sendResponse('AA');
  });
  listener.on('listen', ready);
}

async function medplum(enhanced) {
  const { Hl7Server } = require('@medplum/hl7');
  const listener = new Hl7Server((connection) => {
    connection.addEventListener('message', ({ message }) => {
      const field = (segment, number) => message.getSegment(segment).getField(number);
      const summary = message.segments.filter((one) => one.name === 'OBX')[1];
      told({
        control: field('MSH', 10).toString(),
        name: field('PID', 5).getComponent(1),
        status: field('OBR', 25).toString(),
        summary: summary ? summary.getField(5).toString() : '',
      });
      setTimeout(() => connection.send(message.buildAck()), enhanced ? 300 : 0);
    });
  });
  await listener.start(Number(port), undefined, enhanced);
  ready();
}

async function simpleHl7() {
  const hl7 = require('simple-hl7');
  const app = hl7.tcp();
  app.use((req, res, next) => {
    const summary = req.msg.getSegments('OBX')[1];
    told({
      control: req.msg.header.getField(8),
      name: req.msg.getSegment('PID').getComponent(5, 1),
      status: req.msg.getSegment('OBR').getField(25),
      summary: summary ? summary.getField(5) : '',
    });
    next();
  });
  app.use((req, res) => res.end());
  app.start(Number(port));
  setTimeout(ready, 300);
}

const servers = {
  'node-hl7-server': nodeHl7Server,
  medplum: () => medplum(false),
  'medplum-enhanced': () => medplum(true),
  'simple-hl7': simpleHl7,
};
servers[server]().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
