# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# cmake -DINPUT=file -DOUTPUT=file.c -DNAME=symbol -P embed_text.cmake
# A file as `const char symbol[]` with a NUL behind it, and its length without that as `const unsigned long symbol_length`.
file(READ ${INPUT} text HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${text}")
file(WRITE ${OUTPUT} "extern const char ${NAME}[];\nconst char ${NAME}[] = {${bytes}0};\n"
  "extern const unsigned long ${NAME}_length;\nconst unsigned long ${NAME}_length = sizeof ${NAME} - 1;\n")
