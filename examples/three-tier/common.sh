# What all scripts of the example share. Everything can be set from outside.
here=$(cd "$(dirname "$0")" && pwd)
cais=${CAIS:-cais}
# The port of this machine at which the page is, and at which address.
publish=${PUBLISH:-127.0.0.1:8080}
# What outlives the containers: the database's files and its password.
state=${STATE:-/var/lib/three-tier}
