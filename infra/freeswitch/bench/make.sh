#!/bin/sh
# Makes a bench in FOLDER (./freeswitch-bench): the settings of FreeSWITCH and of Trunkline, with secrets of their own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-./freeswitch-bench}
umask 077
mkdir -p "$to/conf" "$to/log" "$to/db" "$to/run"
# Letters and digits only: they stand in XML and in TOML as they are.
secret() { head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | cut -c1-32; }
if [ ! -e "$to/conf/secrets.xml" ]; then
  esl=$(secret)
  printf '<include>\n  <X-PRE-PROCESS cmd="set" data="esl_password=%s"/>\n  <X-PRE-PROCESS cmd="set" data="gateway_password=%s"/>\n</include>\n' \
    "$esl" "$(secret)" > "$to/conf/secrets.xml"
  sed "s/@ESL_PASSWORD@/$esl/" "$here/trunkline.toml" > "$to/trunkline.toml"
fi
cp "$here/freeswitch.xml" "$to/conf/"
echo "$to is ready; $here/README.md says how to go on"
