"""A skeleton of two bones and a motion of it, in the form of the CMU database; made up."""

ASF = """# made up
:version 1.10
:name test
:units
  mass 1.0
  length 0.5
  angle deg
:documentation
   .ASF
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name thigh
     direction 0 -2 0
     length 3.0
     axis 0 0 90  XYZ
    dof rx rz
    limits (-160.0 20.0)
           (-70.0 60.0)
  end
  begin
     id 2
     name shin
     direction 0 -1 0
     length 2.0
     axis 0 0 0  XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 10 0 0 0 0
thigh 0 0
2
root 1 10 0 0 90 0
thigh 0 90
3
root 0 0 0 0 0 0
thigh 90 0
"""
