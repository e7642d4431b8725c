/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The serialised google.protobuf.FileDescriptorSet of every file under proto/, imports first. rpc takes it as data. */
#ifndef PROTO_DESCRIPTORS_H
#define PROTO_DESCRIPTORS_H

#include <stddef.h>

extern const unsigned char proto_descriptors[];
extern const size_t proto_descriptors_length;

#endif
