-- Wireshark and tshark dissector of the M2M login gateway's protocol: version 4.0, and WMMP 3.0 and 3.1.
-- docs/protocol.md and docs/wmmp.md describe what it reads.
--
-- Install: copy this file into the folder that Wireshark shows under Help > About > Folders > Personal Lua Plugins,
-- or name it for one run:
--
--     wireshark -X lua_script:scripts/wireshark/m2m.lua capture.pcapng
--     tshark -X lua_script:scripts/wireshark/m2m.lua -r capture.pcapng -V -Y m2mgw
--
-- Port: 7750; another one in Preferences > Protocols > M2MGW, with -o m2mgw.port:9991, or with -d tcp.port==9991,m2mgw.
-- Filters: m2mgw.command, m2mgw.response, m2mgw.serial, m2mgw.result, m2mgw.suite, one field a TLV such as
-- m2mgw.tlv.imei, and m2mgw.malformed for frames with anything wrong. (m2m itself is WiMAX in Wireshark.)
--
-- A load balancer's header in front of a connection (PROXY protocol, version 2) shows as such: m2mgw.proxy.source.
--
-- Secrets show as the bytes that are on the wire; digests are not checked, nor which TLVs a command takes:
-- `m2m inspect --pcap` does both.

local HEADER_SIZE = 28
local RESPONSE_BIT = 0x8000
local VERSION_4_0 = 0x0400
local TAG_DIGEST = 0xE021

-- The tables below are those of src/protocol/; a test compares them line by line.

local COMMANDS = {
  [0x0001] = "LOGIN",
  [0x0002] = "LOGOUT",
  [0x0003] = "HEARTBEAT",
  [0x0041] = "SESSION_KEY",
  [0x0042] = "CREDENTIAL_CHANGE",
  [0x0043] = "CREDENTIAL_CONFIRM",
  [0x0044] = "CREDENTIAL_NOTICE",
  [0x0045] = "AUTH_CHALLENGE",
  [0x0046] = "AUTH_PROOF",
  [0x0047] = "DISCONNECT",
}

local RESULTS = {
  [0] = "OK",
  [1] = "AUTH_FAILED",
  [2] = "BINDING_MISMATCH",
  [3] = "SUSPENDED",
  [4] = "CLOCK_SKEW",
  [5] = "REPLAY",
  [6] = "BUSY",
  [7] = "MALFORMED",
  [8] = "UNSUPPORTED_VERSION",
  [9] = "UNSUPPORTED_SUITE",
  [10] = "NOT_LOGGED_IN",
  [11] = "BASE_KEY_MISMATCH",
  [12] = "WAIT_FOR_SMS",
  [13] = "CHANGE_REFUSED",
  [14] = "THROTTLED",
  [15] = "INTERNAL",
}

local SUITES = {
  [0] = "unsigned",
  [1] = "MD5",
  [2] = "HMAC-SHA-256",
}

local DIGEST_SIZES = {
  [1] = 16,
  [2] = 32,
}

local DISCONNECT_REASONS = {
  [1] = "superseded",
  [2] = "suspended",
  [3] = "identity-changed",
  [4] = "shutting-down",
  [5] = "expired",
  [6] = "protocol-error",
}

local CHANGE_TARGETS = {
  [1] = "uplink",
  [2] = "downlink",
  [4] = "base_key",
}

-- Tag, name, kind of value, smallest and largest length.
local TAGS = {
  [0xF001] = { "TIMESTAMP", "time", 4, 4 },
  [0xE00E] = { "IMEI", "text", 15, 15 },
  [0xE012] = { "IMSI", "text", 6, 15 },
  [0xF002] = { "FIRMWARE", "text", 1, 64 },
  [0xF003] = { "SESSION_KEY_REQUEST", "flag", 0, 0 },
  [0xE03A] = { "BASE_KEY_DIGEST", "bytes", 16, 16 },
  [0xF010] = { "SESSION_ID", "bytes", 8, 8 },
  [0xE03B] = { "SESSION_KEY", "bytes", 24, 40 },
  [0xF011] = { "SESSION_TTL", "u32", 4, 4 },
  [0xF012] = { "HEARTBEAT_INTERVAL", "u16", 2, 2 },
  [0xF013] = { "RETRY_AFTER", "u32", 4, 4 },
  [0xF014] = { "REQUEST_DIGEST", "bytes", 16, 32 },
  [0xF020] = { "CHANGE_TARGETS", "u8", 1, 1 },
  [0xF021] = { "CHANGE_DELIVERY", "u8", 1, 1 },
  [0xF022] = { "CHANGE_ID", "u32", 4, 4 },
  [0xE025] = { "NEW_UPLINK_PASSWORD", "bytes", 24, 24 },
  [0xE028] = { "NEW_DOWNLINK_PASSWORD", "bytes", 24, 24 },
  [0xE036] = { "NEW_BASE_KEY", "bytes", 24, 40 },
  [0xF030] = { "CLIENT_NONCE", "bytes", 16, 16 },
  [0xF031] = { "SERVER_NONCE", "bytes", 16, 16 },
  [0xF032] = { "FIRST_CODE", "bytes", 32, 32 },
  [0xF033] = { "THIRD_CODE", "bytes", 40, 40 },
  [0xF034] = { "CREDENTIAL_PACKET", "bytes", 33, 1024 },
  [0xF035] = { "HARDWARE_ID", "bytes", 1, 64 },
  [0xF040] = { "DISCONNECT_REASON", "u8", 1, 1 },
  [0xE021] = { "DIGEST", "bytes", 16, 32 },
}

local UNITS = {
  [0xF011] = "s",
  [0xF012] = "s",
  [0xF013] = "ms",
}

local DELIVERIES = {
  [0] = "the platform decides",
  [1] = "ciphertext",
  [2] = "SMS",
  [3] = "SMS in plain",
}

-- Smallest and largest value permitted.
local RANGES = {
  [0xF020] = { 1, 7 },
  [0xF021] = { 0, 3 },
  [0xF022] = { 1, 0xFFFFFFFF },
  [0xF040] = { 1, 6 },
}

-- Tags whose value has the smallest or the largest length and none between: keys and digests.
local TWO_SIZES = {
  [0xE03B] = true,
  [0xF014] = true,
  [0xE036] = true,
  [0xE021] = true,
}

-- WMMP 3.0.

local WMMP_VERSIONS = {
  [0x0300] = true,
  [0x0301] = true,
}

local WMMP_COMMANDS = {
  [0x0001] = "LOGIN",
  [0x0002] = "LOGOUT",
  [0x0003] = "HEARTBEAT",
  [0x0004] = "COMMAND_0004",
  [0x0005] = "COMMAND_0005",
  [0x0006] = "COMMAND_0006",
  [0x0007] = "CONFIG_TRAP",
  [0x0008] = "REGISTER",
  [0x000A] = "COMMAND_000A",
  [0x000B] = "COMMAND_000B",
  [0x000C] = "COMMAND_000C",
  [0x000D] = "COMMAND_000D",
  [0x000E] = "SECURITY_CONFIG",
  [0x000F] = "COMMAND_000F",
}

-- As TAGS. All others are skipped.
local WMMP_TAGS = {
  [0xE03A] = { "BASE_KEY_DIGEST", "bytes", 16, 16 },
  [0xE040] = { "SESSION_KEY_CIPHERTEXT", "bytes", 8, 65535 },
  [0xE03B] = { "SESSION_KEY", "bytes", 24, 24 },
  [0xE03D] = { "SESSION_KEY_EXPIRY", "u32", 4, 4 },
  [0xE042] = { "BODY_CIPHERTEXT", "bytes", 8, 65535 },
  [0xE025] = { "UPLINK_PASSWORD", "bytes", 8, 8 },
  [0xE027] = { "UPLINK_PASSWORD_EXPIRY", "u32", 4, 4 },
  [0xE028] = { "DOWNLINK_PASSWORD", "bytes", 8, 8 },
  [0xE02A] = { "DOWNLINK_PASSWORD_EXPIRY", "u32", 4, 4 },
  [0xE036] = { "BASE_KEY", "bytes", 24, 24 },
  [0xE038] = { "BASE_KEY_EXPIRY", "u32", 4, 4 },
  [0xE021] = { "DIGEST", "bytes", 16, 16 },
}

-- Fixed fields before the TLVs, by command with its response bit: field and size.
local WMMP_BODIES = {
  [0x0001] = { { "software_version", 8 }, { "settings_crc", 4 } },
  [0x8001] = { { "result", 1 }, { "timestamp", 4 } },
  [0x0002] = { { "reason", 1 } },
  [0x8004] = { { "result", 1 } },
  [0x8005] = { { "result", 1 } },
  [0x8006] = { { "result", 1 } },
  [0x8007] = { { "result", 1 } },
  [0x0008] = { { "operation", 1 }, { "imei", 16 }, { "imsi", 15 } },
  [0x8008] = { { "result", 1 }, { "serial", 16 } },
  [0x800A] = { { "result", 1 } },
  [0x800B] = { { "result", 1 } },
  [0x800C] = { { "result", 1 } },
  [0x800D] = { { "result", 1 } },
  [0x800E] = { { "result", 1 } },
  [0x800F] = { { "result", 1 } },
}

-- What stands behind the fixed fields here is not known to be TLVs, but for a digest at the end.
local WMMP_UNKNOWN_BODIES = {
  [0x0004] = true,
  [0x0005] = true,
  [0x0006] = true,
  [0x000A] = true,
  [0x000B] = true,
  [0x000C] = true,
  [0x000D] = true,
  [0x800E] = true,
  [0x000F] = true,
}

local m2m = Proto("m2mgw", "M2M login gateway protocol")

local fields = {
  length = ProtoField.uint16("m2mgw.length", "Length", base.DEC),
  command = ProtoField.uint16("m2mgw.command", "Command", base.HEX, COMMANDS, 0x7FFF),
  wmmp_command = ProtoField.uint16("m2mgw.wmmp.command", "Command", base.HEX, WMMP_COMMANDS, 0x7FFF),
  response = ProtoField.bool("m2mgw.response", "Response", 16, nil, RESPONSE_BIT),
  sequence = ProtoField.uint32("m2mgw.sequence", "Sequence", base.DEC),
  version = ProtoField.uint16("m2mgw.version", "Version", base.HEX),
  suite = ProtoField.uint8("m2mgw.suite", "Suite", base.DEC, SUITES),
  result = ProtoField.uint8("m2mgw.result", "Result", base.DEC, RESULTS),
  security = ProtoField.uint8("m2mgw.wmmp.security", "Security", base.HEX),
  has_digest = ProtoField.bool("m2mgw.wmmp.security.digest", "Digest", 8, nil, 0x20),
  is_encrypted = ProtoField.bool("m2mgw.wmmp.security.encrypted", "Body encrypted, or one part of several", 8, nil, 0x10),
  reserved = ProtoField.uint8("m2mgw.wmmp.reserved", "Reserved", base.HEX),
  serial = ProtoField.string("m2mgw.serial", "Serial"),
  serial_bytes = ProtoField.bytes("m2mgw.serial.bytes", "Serial"),
  tlv = ProtoField.none("m2mgw.tlv", "TLV"),
  tag = ProtoField.uint16("m2mgw.tag", "Tag", base.HEX),
  tlv_length = ProtoField.uint16("m2mgw.tlv.length", "Length", base.DEC),
  unknown = ProtoField.bytes("m2mgw.tlv.unknown", "Value"),
  malformed = ProtoField.string("m2mgw.malformed", "Malformed"),
  software_version = ProtoField.string("m2mgw.wmmp.software_version", "Software version"),
  settings_crc = ProtoField.uint32("m2mgw.wmmp.settings_crc", "CRC32 of the settings", base.HEX),
  wmmp_result = ProtoField.uint8("m2mgw.wmmp.result", "Result", base.DEC),
  wmmp_timestamp = ProtoField.absolute_time("m2mgw.wmmp.timestamp", "Timestamp", base.UTC),
  reason = ProtoField.uint8("m2mgw.wmmp.reason", "Reason", base.DEC),
  operation = ProtoField.uint8("m2mgw.wmmp.operation", "Operation", base.DEC),
  wmmp_imei = ProtoField.string("m2mgw.wmmp.imei", "IMEI"),
  wmmp_imsi = ProtoField.string("m2mgw.wmmp.imsi", "IMSI"),
  wmmp_serial = ProtoField.string("m2mgw.wmmp.serial", "Serial"),
  wmmp_rest = ProtoField.bytes("m2mgw.wmmp.rest", "Rest"),
  proxy_length = ProtoField.uint16("m2mgw.proxy.length", "Length behind the fixed part", base.DEC),
  proxy_source = ProtoField.string("m2mgw.proxy.source", "Terminal"),
}

local WMMP_FIELDS = {
  software_version = { fields.software_version, "text" },
  settings_crc = { fields.settings_crc, "u32" },
  result = { fields.wmmp_result, "u8" },
  timestamp = { fields.wmmp_timestamp, "time" },
  reason = { fields.reason, "u8" },
  operation = { fields.operation, "u8" },
  imei = { fields.wmmp_imei, "text" },
  imsi = { fields.wmmp_imsi, "text" },
  serial = { fields.wmmp_serial, "text" },
}

local function value_field(tag, name, kind)
  local filter = "m2mgw.tlv." .. name:lower()
  if kind == "time" then return ProtoField.absolute_time(filter, name, base.UTC) end
  if kind == "text" then return ProtoField.string(filter, name) end
  if kind == "bytes" then return ProtoField.bytes(filter, name) end
  if kind == "flag" then return ProtoField.none(filter, name) end
  if kind == "u32" then return ProtoField.uint32(filter, name, base.DEC) end
  if kind == "u16" then return ProtoField.uint16(filter, name, base.DEC) end
  local names = { [0xF021] = DELIVERIES, [0xF040] = DISCONNECT_REASONS }
  return ProtoField.uint8(filter, name, base.DEC, names[tag])
end

local all_fields = {}
for _, field in pairs(fields) do all_fields[#all_fields + 1] = field end

-- One field a name: both dialects have some of them.
local fields_by_name = {}
local function fields_of(tags)
  local found = {}
  for tag, row in pairs(tags) do
    local name = row[1]
    if not fields_by_name[name] then
      fields_by_name[name] = value_field(tag, name, row[2])
      all_fields[#all_fields + 1] = fields_by_name[name]
    end
    found[tag] = fields_by_name[name]
  end
  return found
end

local value_fields = fields_of(TAGS)
local wmmp_value_fields = fields_of(WMMP_TAGS)
m2m.fields = all_fields

-- The names are those of src/protocol/faults.ts.
local FAULTS = {
  ["length-too-short"] = "length is below the 28 bytes of a header",
  ["version-unknown"] = "version is not known",
  ["command-unknown"] = "command is not known",
  ["result-in-request"] = "result must be 0 in a request",
  ["result-unknown"] = "result is not known",
  ["serial-invalid"] = "serial must be 1 to 16 of A-Z a-z 0-9 . _ - and zeros behind it",
  ["suite-unknown"] = "digest suite is not known",
  ["tlv-truncated"] = "fewer than 4 bytes are left where a TLV must begin",
  ["tlv-overrun"] = "TLV runs past the end of the frame",
  ["tag-unknown"] = "tag is not known and not one that may be skipped",
  ["tag-skippable-under-md5"] = "tags that are skipped may not stand under suite 1",
  ["tag-twice"] = "tag stands twice",
  ["value-length"] = "value has the wrong length",
  ["value-invalid"] = "value is not permitted",
  ["body-too-short"] = "frame ends within the fixed fields of its command",
  ["digest-missing"] = "digest is missing",
  ["digest-not-last"] = "digest must be the last TLV",
  ["digest-length"] = "digest has not the size of its suite",
  ["digest-unsigned"] = "digest under suite 0",
}

local experts = {}
local all_experts = {}
for name, text in pairs(FAULTS) do
  experts[name] = ProtoExpert.new("m2mgw.expert." .. name:gsub("-", "_"), text, expert.group.MALFORMED,
    expert.severity.ERROR)
  all_experts[#all_experts + 1] = experts[name]
end
m2m.experts = all_experts

-- Flags `item`, and makes the frame found by m2mgw.malformed.
local function flag(frame, item, name)
  item:add_proto_expert_info(experts[name])
  local found = frame.tree:add(fields.malformed, name)
  found:set_generated()
  frame.faults[#frame.faults + 1] = name
end

local function version_text(version)
  return string.format("%d.%d", math.floor(version / 256), version % 256)
end

-- The serial as text; nil where its bytes are none.
local function serial_text(range)
  local raw = range:bytes():raw()
  local text, padding = raw:match("^([A-Za-z0-9._-]+)(\0*)$")
  if text and #text + #padding == 16 then return text end
  return nil
end

-- Text up to the zeros that pad it.
local function padded_text(range)
  return (range:bytes():raw():gsub("\0.*$", ""):gsub("[^\32-\126]", "."))
end

local function targets_text(mask)
  local names = {}
  for _, bit in ipairs({ 1, 2, 4 }) do
    if math.floor(mask / bit) % 2 == 1 then names[#names + 1] = CHANGE_TARGETS[bit] end
  end
  return table.concat(names, ", ")
end

local function add_value(tree, field, kind, range)
  if kind == "time" then return tree:add(field, range, NSTime.new(range:uint(), 0)) end
  if kind == "text" then return tree:add(field, range, padded_text(range)) end
  return tree:add(field, range)
end

local function value_is_permitted(tag, kind, range)
  local text = kind == "text" and range:bytes():raw() or nil
  if tag == 0xE00E or tag == 0xE012 then return text:find("^%d+$") ~= nil end
  if kind == "text" then return text:find("^[\32-\126]+$") ~= nil end
  local limits = RANGES[tag]
  return limits == nil or (range:uint() >= limits[1] and range:uint() <= limits[2])
end

local function has_right_size(frame, tag, size)
  local _, _, smallest, largest = table.unpack(frame.tags[tag])
  if TWO_SIZES[tag] and not frame.is_wmmp then return size == smallest or size == largest end
  return size >= smallest and size <= largest
end

local function dissect_known(frame, item, tag, range)
  local _, kind = table.unpack(frame.tags[tag])
  if not has_right_size(frame, tag, range and range:len() or 0) then
    -- The digest's size is told by the suite, further down; in WMMP a TLV may be another command's.
    if tag ~= TAG_DIGEST and not frame.is_wmmp then flag(frame, item, "value-length") end
    if range then item:add(fields.unknown, range) end
    return
  end
  if kind == "flag" then
    item:add(frame.value_fields[tag])
    return
  end
  local value = add_value(item, frame.value_fields[tag], kind, range)
  if UNITS[tag] then value:append_text(" " .. UNITS[tag]) end
  if tag == 0xF020 then value:append_text(" (" .. targets_text(range:uint()) .. ")") end
  if not frame.is_wmmp and not value_is_permitted(tag, kind, range) then flag(frame, value, "value-invalid") end
end

local function dissect_unknown(frame, item, tag, range)
  if range then item:add(fields.unknown, range) end
  if frame.is_wmmp then return end
  local is_skipped = tag >= 0x7000 and tag <= 0x7FFF
  if not is_skipped then flag(frame, item, "tag-unknown") end
  if is_skipped and frame.suite == 1 then flag(frame, item, "tag-skippable-under-md5") end
end

local function tag_name(frame, tag)
  return frame.tags[tag] and frame.tags[tag][1] or "unknown"
end

-- Returns the offset behind it, or nil where the walk must stop.
local function dissect_tlv(frame, tvb, at, length)
  if length - at < 4 then
    flag(frame, frame.tree:add(fields.tlv, tvb(at, length - at)), "tlv-truncated")
    return nil
  end
  local tag, size = tvb(at, 2):uint(), tvb(at + 2, 2):uint()
  local is_over = at + 4 + size > length
  local item = frame.tree:add(fields.tlv, tvb(at, is_over and length - at or 4 + size))
  item:set_text(string.format("%s (0x%04x), %d bytes", tag_name(frame, tag), tag, size))
  item:add(fields.tag, tvb(at, 2)):append_text(" (" .. tag_name(frame, tag) .. ")")
  item:add(fields.tlv_length, tvb(at + 2, 2))
  if is_over then
    flag(frame, item, "tlv-overrun")
    return nil
  end
  if frame.seen[tag] and not frame.is_wmmp then flag(frame, item, "tag-twice") end
  frame.seen[tag] = true
  local range = size > 0 and tvb(at + 4, size) or nil
  if frame.tags[tag] then dissect_known(frame, item, tag, range) else dissect_unknown(frame, item, tag, range) end
  if tag == TAG_DIGEST then frame.digest = { item = item, size = size, stop = at + 4 + size } end
  return at + 4 + size
end

local function judge_digest(frame, length)
  local digest = frame.digest
  if digest == nil then
    -- What stopped the walk is told already.
    local is_missing = frame.suite ~= 0 and frame.is_complete and SUITES[frame.suite]
    if is_missing then flag(frame, frame.tree, "digest-missing") end
    return
  end
  if digest.stop ~= length then flag(frame, digest.item, "digest-not-last") end
  if frame.suite == 0 then flag(frame, digest.item, "digest-unsigned") end
  local wanted = DIGEST_SIZES[frame.suite]
  if wanted and digest.size ~= wanted then flag(frame, digest.item, "digest-length") end
end

-- Which commands must have one is not told here.
local function judge_wmmp_digest(frame, length)
  local digest = frame.digest
  if digest == nil then return end
  if digest.stop ~= length then flag(frame, digest.item, "digest-not-last") end
  if not has_right_size(frame, TAG_DIGEST, digest.size) then flag(frame, digest.item, "digest-length") end
end

local function dissect_tlvs(frame, tvb, start, length)
  local at = start
  while at ~= nil and at < length do at = dissect_tlv(frame, tvb, at, length) end
  frame.is_complete = at ~= nil
  if frame.is_wmmp then judge_wmmp_digest(frame, length) else judge_digest(frame, length) end
end

-- Returns the offset where TLVs begin, or nil where the frame ends before it.
local function dissect_wmmp_body(frame, tvb, length)
  local at = HEADER_SIZE
  for _, row in ipairs(WMMP_BODIES[frame.raw_command] or {}) do
    local name, size = row[1], row[2]
    if at + size > length then
      flag(frame, frame.tree, "body-too-short")
      return nil
    end
    local field, kind = WMMP_FIELDS[name][1], WMMP_FIELDS[name][2]
    add_value(frame.tree, field, kind, tvb(at, size))
    at = at + size
  end
  if not WMMP_UNKNOWN_BODIES[frame.raw_command] then return at end
  local digest = length - 4 - WMMP_TAGS[TAG_DIGEST][3]
  local has_digest = digest >= at and tvb(digest, 2):uint() == TAG_DIGEST
  local rest = has_digest and digest or length
  if rest > at then frame.tree:add(fields.wmmp_rest, tvb(at, rest - at)) end
  return rest
end

local function dissect_version_4(frame, tvb)
  local tree = frame.tree
  local command = tree:add(fields.command, tvb(2, 2))
  if not COMMANDS[frame.command] then flag(frame, command, "command-unknown") end
  local suite = tree:add(fields.suite, tvb(10, 1))
  if not SUITES[frame.suite] then flag(frame, suite, "suite-unknown") end
  local result = tree:add(fields.result, tvb(11, 1))
  local code = tvb(11, 1):uint()
  if not frame.is_response and code ~= 0 then flag(frame, result, "result-in-request") end
  if frame.is_response and not RESULTS[code] then flag(frame, result, "result-unknown") end
end

local function dissect_wmmp_header(frame, tvb)
  local command = frame.tree:add(fields.wmmp_command, tvb(2, 2))
  if not WMMP_COMMANDS[frame.command] then flag(frame, command, "command-unknown") end
  local security = frame.tree:add(fields.security, tvb(10, 1))
  security:add(fields.has_digest, tvb(10, 1))
  security:add(fields.is_encrypted, tvb(10, 1))
  frame.tree:add(fields.reserved, tvb(11, 1))
end

-- A response echoes the serial as it came, and a DISCONNECT may leave before one is known.
local function dissect_serial(frame, tvb)
  local text = serial_text(tvb(12, 16))
  if text then
    frame.tree:add(fields.serial, tvb(12, 16), text)
    return text
  end
  local item = frame.tree:add(fields.serial_bytes, tvb(12, 16))
  local is_judged = not frame.is_wmmp and not frame.is_response and frame.command ~= 0x0047
  if is_judged then flag(frame, item, "serial-invalid") end
  return nil
end

local function info_text(frame, tvb, serial)
  local names = frame.is_wmmp and WMMP_COMMANDS or COMMANDS
  local parts = { names[frame.command] or string.format("0x%04x", frame.command) }
  if frame.is_wmmp then table.insert(parts, 1, "WMMP") end
  if frame.is_response then parts[#parts + 1] = "response" end
  if frame.is_response and not frame.is_wmmp then
    parts[#parts + 1] = RESULTS[tvb(11, 1):uint()] or tostring(tvb(11, 1):uint())
  end
  if serial then parts[#parts + 1] = serial end
  if #frame.faults > 0 then parts[#parts + 1] = "[" .. table.concat(frame.faults, ", ") .. "]" end
  return table.concat(parts, " ")
end

local function new_frame(tvb, tree)
  local command, version = tvb(2, 2):uint(), tvb(8, 2):uint()
  local is_wmmp = WMMP_VERSIONS[version] == true
  return {
    tree = tree,
    raw_command = command,
    command = command % RESPONSE_BIT,
    is_response = command >= RESPONSE_BIT,
    version = version,
    is_wmmp = is_wmmp,
    tags = is_wmmp and WMMP_TAGS or TAGS,
    value_fields = is_wmmp and wmmp_value_fields or value_fields,
    suite = tvb(10, 1):uint(),
    seen = {},
    faults = {},
  }
end

local function add_info(pinfo, tree, info)
  tree:append_text(", " .. info)
  if #tostring(pinfo.cols.info) > 0 then pinfo.cols.info:append("; ") end
  pinfo.cols.info:append(info)
end

-- The same as in src/protocol/proxyHeader.ts. No frame begins so.
local PROXY_SIGNATURE = "0d0a0d0a000d0a515549540a"
local PROXY_FIXED = 16
local PROXY_LONGEST = 536
local PROXY_LOCAL = 0x20

-- Returns nil where there is none.
local function proxy_length(tvb, offset)
  if tvb(offset, 12):bytes():tohex(true) ~= PROXY_SIGNATURE then return nil end
  local command = tvb(offset + 12, 1):uint()
  local length = PROXY_FIXED + tvb(offset + 14, 2):uint()
  if command ~= PROXY_LOCAL and command ~= 0x21 or length > PROXY_LONGEST then return nil end
  return length
end

local function proxy_source(tvb)
  local family = tvb(12, 1):uint() == PROXY_LOCAL and 0 or tvb(13, 1):uint()
  if family == 0x11 and tvb:len() >= 28 then return tostring(tvb(16, 4):ipv4()) .. ":" .. tvb(24, 2):uint(), tvb(16, 10) end
  if family == 0x21 and tvb:len() >= 52 then
    return "[" .. tostring(tvb(16, 16):ipv6()) .. "]:" .. tvb(48, 2):uint(), tvb(16, 34)
  end
  return nil
end

local function dissect_proxy(tvb, pinfo, root)
  local tree = root:add(m2m, tvb(), "PROXY protocol")
  tree:add(fields.proxy_length, tvb(14, 2))
  local source, range = proxy_source(tvb)
  if source then tree:add(fields.proxy_source, range, source) end
  add_info(pinfo, tree, "PROXY header for " .. (source or "the load balancer itself"))
  return tvb:len()
end

local function dissect_frame(tvb, pinfo, root)
  if proxy_length(tvb, 0) then return dissect_proxy(tvb, pinfo, root) end
  local length = tvb(0, 2):uint()
  local frame = new_frame(tvb, root:add(m2m, tvb()))
  local tree = frame.tree
  local length_item = tree:add(fields.length, tvb(0, 2))
  tree:add(fields.response, tvb(2, 2))
  tree:add(fields.sequence, tvb(4, 4))
  local version = tree:add(fields.version, tvb(8, 2))
  version:append_text(" (" .. version_text(frame.version) .. ")")
  if length < HEADER_SIZE then flag(frame, length_item, "length-too-short") end
  if frame.is_wmmp then
    dissect_wmmp_header(frame, tvb)
  elseif frame.version == VERSION_4_0 then
    dissect_version_4(frame, tvb)
  else
    flag(frame, version, "version-unknown")
  end
  local is_known = frame.is_wmmp or frame.version == VERSION_4_0
  local serial = is_known and dissect_serial(frame, tvb) or nil
  if is_known and length >= HEADER_SIZE then
    local start = HEADER_SIZE
    if frame.is_wmmp then start = dissect_wmmp_body(frame, tvb, length) end
    if start then dissect_tlvs(frame, tvb, start, length) end
  end
  add_info(pinfo, tree, info_text(frame, tvb, serial))
  return tvb:len()
end

-- With a length below that of a header nothing behind it can be cut: all that is left is shown as one frame.
local function frame_length(tvb, _, offset)
  local proxy = proxy_length(tvb, offset)
  if proxy then return proxy end
  local length = tvb(offset, 2):uint()
  if length < HEADER_SIZE then return math.max(HEADER_SIZE, tvb:len() - offset) end
  return length
end

m2m.prefs.port = Pref.uint("TCP port", 7750, "The gateway's port")

function m2m.dissector(tvb, pinfo, tree)
  pinfo.cols.protocol = "M2M"
  pinfo.cols.info = ""
  dissect_tcp_pdus(tvb, tree, PROXY_FIXED, frame_length, dissect_frame)
  return tvb:len()
end

local tcp_port = DissectorTable.get("tcp.port")
local registered = m2m.prefs.port

function m2m.prefs_changed()
  if registered == m2m.prefs.port then return end
  if registered ~= 0 then tcp_port:remove(registered, m2m) end
  registered = m2m.prefs.port
  if registered ~= 0 then tcp_port:add(registered, m2m) end
end

tcp_port:add(registered, m2m)
