/**
 * An SMSC in a process of its own (test/support/smsc.ts forks it): the server side of the smpp package. It tells its
 * parent all that it sees, and behaves as its parent says.
 */
'use strict';
const smpp = require('smpp');

const BIND_FAILED = 0x0d;

/** password: what a bind must show; silent: commands that are not answered; refuse: status of submit_sm_resp. */
let behaviour = { password: 'password', silent: [], refuse: 0 };
const sessions = new Set();
let lastId = 0;

const tell = (event, fields = {}) => process.send({ event, ...fields });

// The package decodes with the tables that it encodes with: what was on the wire is told as well.
const filter = smpp.PDU.prototype._filter;
smpp.PDU.prototype._filter = function (how) {
  if (how === 'decode' && Buffer.isBuffer(this.short_message))
    Object.defineProperty(this, 'octets', { value: this.short_message.toString('hex') });
  return filter.call(this, how);
};

const isSilent = ({ command }) => behaviour.silent.includes(command);

function bind(session, pdu) {
  const { system_id, password, interface_version } = pdu;
  tell('bind', { system_id, password, interface_version });
  if (isSilent(pdu)) return;
  const good = password === behaviour.password;
  session.send(pdu.response({ command_status: good ? 0 : BIND_FAILED, system_id: 'smsc' }));
  if (!good) return session.close();
  sessions.add(session);
}

function submit(session, pdu) {
  const message_id = `${(lastId += 1)}-${process.pid}`;
  const { destination_addr, dest_addr_ton, data_coding, registered_delivery, octets } = pdu;
  const fields = { destination_addr, dest_addr_ton, data_coding, registered_delivery, octets };
  tell('submit', { ...fields, text: pdu.short_message.message, message_id });
  if (isSilent(pdu)) return;
  session.send(pdu.response(behaviour.refuse ? { command_status: behaviour.refuse } : { message_id }));
}

const server = smpp.createServer((session) => {
  session.on('error', () => session.destroy());
  session.on('close', () => sessions.delete(session));
  session.on('bind_transceiver', (pdu) => bind(session, pdu));
  session.on('submit_sm', (pdu) => submit(session, pdu));
  session.on('enquire_link', (pdu) => {
    tell('enquired');
    if (!isSilent(pdu)) session.send(pdu.response());
  });
  session.on('unbind', (pdu) => {
    tell('unbound');
    session.send(pdu.response());
    session.close();
  });
});

const orders = {
  behave: (order) => (behaviour = { ...behaviour, ...order.behaviour }),
  enquire: () => sessions.forEach((session) => session.enquire_link({}, () => tell('enquiry-answered'))),
  deliver: ({ fields }) =>
    sessions.forEach((session) =>
      session.deliver_sm(fields, ({ command_status }) => tell('deliver-answered', { command_status })),
    ),
  unbind: () => sessions.forEach((session) => session.unbind({}, () => tell('unbind-answered'))),
  garbage: () => sessions.forEach((session) => session.socket.write(Buffer.alloc(64, 0xff))),
  hangUp: () => sessions.forEach((session) => session.destroy()),
};

process.on('message', (order) => orders[order.order](order));
process.on('disconnect', () => process.exit(0));
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () =>
  tell('listening', { port: server.address().port }),
);
